export default 'works offline';
