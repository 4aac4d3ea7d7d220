import { Component } from '@angular/core';

export const About = Component({ selector: 'app-about', template: '<h1>About</h1><img src="/logo.svg" alt="logo" width="40">' })(class {} as any);
