// An Angular application, compiled in the browser; its base is the document's <base href="/">.
import '@angular/compiler';
import { Component, inject, provideZonelessChangeDetection, signal } from '@angular/core';
import { bootstrapApplication } from '@angular/platform-browser';
import { ActivatedRoute, provideRouter, Router, RouterLink, RouterOutlet } from '@angular/router';

const Home = Component({ selector: 'app-home', template: '<h1>Home</h1>' })(class {} as any);
const Items = Component({
  selector: 'app-items',
  imports: [RouterLink],
  template: `<h1>Items</h1><ul>@for (item of items(); track item.id) {<li><a [routerLink]="['/items', item.id]">{{ item.name }}</a></li>}</ul>`,
})(class {
  items = signal<{ id: number; name: string }[]>([]);
  constructor() { fetch('/api/items.json').then(a => a.json()).then(items => this.items.set(items)); }
} as any);
const Item = Component({
  selector: 'app-item',
  template: '<h1>Item {{ id }}</h1><p>at {{ path }}</p><button (click)="all()">All items</button>',
})(class {
  id = inject(ActivatedRoute).snapshot.params['id'];
  path = location.pathname;
  router = inject(Router);
  all() { this.router.navigateByUrl('/items'); }
} as any);
const Root = Component({
  selector: 'app-root',
  imports: [RouterLink, RouterOutlet],
  template: '<main><nav><a routerLink="/">Home</a> <a routerLink="/items">Items</a> <a routerLink="/about">About</a></nav><router-outlet /></main>',
})(class {} as any);

document.getElementById('root')!.append(document.createElement('app-root'));
bootstrapApplication(Root as any, {
  providers: [
    provideZonelessChangeDetection(),
    provideRouter([
      { path: '', component: Home as any },
      { path: 'items', component: Items as any },
      { path: 'items/:id', component: Item as any },
      { path: 'about', loadComponent: () => import('./about').then(module => module.About as any) },
    ]),
  ],
});
